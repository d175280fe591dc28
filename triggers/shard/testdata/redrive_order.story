# A redrive goes before records of its bucket that wait, and not before those that
# are in a unit; letters of a bucket go in the order given, one at a time.
config parallel=2 batch=2
seen invoke
put a a a b
    invoke 1-2
    invoke 4
redrive X:a Y:a Z:b
put a b
done 1-2
    invoke X
status
    next 3, read 6, waiting 3, out 2: 
    unit 4-4, 1 records, attempts 0: out
    redrive X, attempts 0: out
    redrive Y, attempts 0: sibling
    redrive Z, attempts 0: sibling
done 4
    invoke Z
status
    next 3, read 6, waiting 3, out 2: 
    redrive X, attempts 0: out
    redrive Y, attempts 0: sibling
    redrive Z, attempts 0: out
done X
    invoke Y
done Z
    invoke 6
done Y
    invoke 3,5
