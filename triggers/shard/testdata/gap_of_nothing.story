# A gap that says nothing of any record is no answer to wait for: the machine asks
# again when something arrives, and not before.
config batch=2
seen invoke fetch lost
hold fetches
put 2
    fetch 1, 20 records
gap none
wait 60s
put 1
    fetch 1, 20 records
fetch
    invoke 1-2
done 1-2
    invoke 3
done 3
# The same of records that are read again.
config parallel=2 batch=2 retries=9 pinned=450
free fetches
put a
    fetch 4, 40 records
    invoke 4
fail 4
put a a a a
    fetch 5, 39 records
    fetch 8, 36 records
put b
    fetch 9, 35 records
    invoke 9
done 9
hold fetches
wait 1s
    invoke 4, attempt 2, invocation 2
done 4
    fetch 5, 2 records, again
gap none
wait 60s
put c
    fetch 5, 2 records, again
fetch
    invoke 5-6
    fetch 10, 35 records
