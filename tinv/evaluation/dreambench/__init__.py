"""Published protocols: a word for each of many subjects, and one number for all of them."""
