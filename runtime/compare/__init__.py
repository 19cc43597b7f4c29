"""Does a precision change the tracks? Each stage on the same inputs, then the whole pipeline, against the first of them."""
