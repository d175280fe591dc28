# n = 2. When memory is full of records that are blocked behind a unit of their
# key, they are released, others are read, and they are read again in their turn.
config parallel=2 batch=2 retries=9 pinned=450
seen invoke fetch release
put a
    fetch 1, 40 records
    invoke 1
fail 1
put a a a a
    fetch 2, 39 records
    fetch 5, 36 records
put b
    fetch 6, 35 records
    release below 1 and 2-5
    invoke 6
done 6
    release below 1 and 6
wait 1s
    invoke 1, attempt 2, invocation 2
done 1
    fetch 2, 2 records, again
    release below 2
    invoke 2-3
done 2-3
    fetch 4, 2 records, again
    release below 4
    invoke 4-5
done 4-5
    release below 7
