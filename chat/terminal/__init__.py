"""A conversation in a terminal: the same actions and the same reader as the page's."""
