"""Words of the known world's narrators: synonyms of actions and things, and templates of sentences.

All of them are single word pieces of BERT's uncased vocabulary, so that a word is a token.
"""

from __future__ import annotations

ACTIONS = (
    "cut chop slice", "slice cut", "chop cut crush", "peel strip", "wash strip", "mix stir", "stir mix beat", "whip beat",
    "fry cook", "boil cook", "roast cook", "grill roast", "pour add", "season add", "press crush", "roll fold",
    "fold wrap", "cover wrap", "serve plate", "crush press",
)  # fmt: skip
"""The words for each action, the usual one first. A word may stand for several actions."""
THINGS = (
    "onion vegetable", "garlic vegetable", "carrot vegetable", "potato vegetable", "tomato vegetable", "pepper vegetable",
    "bean vegetable", "cabbage vegetable", "corn vegetable", "mushroom vegetable", "beef meat", "pork meat", "chicken meat",
    "lamb meat", "bacon meat", "sausage meat", "steak meat", "turkey meat", "salmon fish", "shrimp fish", "crab fish",
    "tuna fish", "apple fruit", "lemon fruit", "orange fruit", "banana fruit", "berry fruit", "cherry fruit", "grape fruit",
    "peach fruit", "flour base", "sugar base", "dough base", "bread base", "rice base", "pasta base", "butter mixture",
    "milk mixture", "cream mixture", "cheese mixture", "egg mixture", "oil mixture",
)  # fmt: skip
"""The words for each thing. The second names its kind, and is shared."""
FILLERS = {
    "OPEN": "now then next so okay here",
    "PERSON": "you we i",
    "MODAL": "will can want need just",
    "MANNER": "gently slowly quickly well again",
    "PRAISE": "good great nice easy beautiful",
    "PLACE": "kitchen channel family",
}
"""Words of which a slot takes any, the first most often."""
NAMING = (
    (0.3, "OPEN ACTION the THING"),
    (0.3, "OPEN PERSON MODAL ACTION the THING"),
    (0.25, "ACTION the THING MANNER"),
    (0.15, "OPEN take the THING and ACTION it"),
)
"""Sentences that name the thing: shares and slots. A slot in small letters is a word."""
WITH_IT = (
    (0.5, "OPEN ACTION it MANNER"),
    (0.3, "PERSON MODAL ACTION it MANNER"),
    (0.2, "OPEN ACTION it for a bit"),
)
"""Sentences that say "it"."""
CHATTER = (
    (0.3, "this is really PRAISE"),
    (0.2, "i love this PLACE"),
    (0.2, "OPEN let me know what you think"),
    (0.15, "thank you for watching"),
    (0.15, "welcome back to the PLACE"),
)
"""Sentences about no step."""
