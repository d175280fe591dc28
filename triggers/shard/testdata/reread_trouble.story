# What was released cannot be read again for now: the machine asks again when it
# is woken, and not in a loop.
config parallel=2 batch=2 retries=9 pinned=450
seen invoke fetch
put a
    fetch 1, 40 records
    invoke 1
fail 1
put a a a a
    fetch 2, 39 records
    fetch 5, 36 records
put b
    fetch 6, 35 records
    invoke 6
done 6
hold fetches
wait 1s
    invoke 1, attempt 2, invocation 2
done 1
    fetch 2, 2 records, again
fetch 0
wait 5s
status
    next 2, read 6, waiting 2, out 0: all records read belong to keys whose earlier records are not resolved yet
    unit 2-3, 2 records, attempts 0: reading
put c
    fetch 2, 2 records, again
fetch
    invoke 2-3
    fetch 7, 35 records
fetch
    invoke 7
