# n = 4: a unit claims at most 16 idle buckets, those with the oldest records
# first, and a key is in one unit at most.
config parallel=4 batch=2
put a b a c a b
    invoke 1-2
    invoke 4
put d e f
    invoke 7-8
    invoke 9
done 4
status
    next 1, read 9, waiting 3, out 3: all records read belong to keys whose earlier records are not resolved yet
    unit 1-2, 2 records, attempts 0: out
    unit 7-8, 2 records, attempts 0: out
    unit 9-9, 1 records, attempts 0: out
done 1-2
    invoke 3,5
    invoke 6
done 7-8
done 3,5
done 6
done 9
