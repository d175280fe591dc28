# A bucket none of whose records fit into the unit is not held by it.
config parallel=2 batch=2
put a a b
    invoke 1-2
    invoke 3
