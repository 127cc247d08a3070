"""What a new codebook makes out of date."""

from flows.codebook import out_of_date
from multimodal.catalogue import Catalogue
from multimodal.store import Store


def test_a_model_of_another_codebook_is_out_of_date_with_what_it_made(tmp_path):
    store = Store(tmp_path / "store")
    with Catalogue(store.catalogue) as catalogue:
        catalogue.set_current("codebook", "new")
    assert out_of_date(store) == ()
    for codebook, old in (("new", ()), ("old", ("model", "index", "evaluation"))):
        with Catalogue(store.catalogue) as catalogue:
            catalogue.set_current("model_codebook", codebook)
        assert out_of_date(store) == old
