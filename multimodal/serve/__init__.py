"""The page and its JSON API: a store in a browser, over the functions that the commands call."""
