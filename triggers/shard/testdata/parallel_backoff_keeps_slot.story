# n = 2: a unit in back-off keeps its slot and its buckets; the other slot goes on.
config parallel=2 batch=1 retries=9
put a
    invoke 1
put b a b
    invoke 2
fail 1
done 2
    invoke 4
done 4
status
    next 1, read 4, waiting 1, out 0: all records read belong to keys whose earlier records are not resolved yet
    unit 1-1, 1 records, attempts 1: back-off
put c
    invoke 5
done 5
wait 1s
    invoke 1, attempt 2, invocation 2
done 1
    invoke 3
