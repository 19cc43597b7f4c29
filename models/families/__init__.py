"""Networks of other code bases, recognised by keys, shapes and hyper-parameters; needs no torch."""
