"""Names that a person nearly gave, among more of them than are compared letter by letter."""

import random
import string

from multimodal.names import MOST_COMPARED, did_you_mean, nearest


def test_the_nearest_of_many_names_is_found_wherever_a_letter_is_wrong():
    draw = random.Random(0)
    names = ["".join(draw.choices(string.ascii_lowercase, k=12)) + ".mp4" for _ in range(5 * MOST_COMPARED)]
    meant = names[-1]
    for place in (0, 5, 11):
        wrong = f"{meant[:place]}_{meant[place + 1 :]}"
        assert nearest(wrong, names)[0] == meant
        assert meant not in nearest(wrong, names[:MOST_COMPARED]), "the control"
    assert meant in did_you_mean(meant[:6].upper(), names)
    assert did_you_mean("_" * 4, names) == ""
