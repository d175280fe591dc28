# Records behind a letter leave memory when they keep others from being read, and
# are read again.
config batch=2 pinned=300 backoff=60s
seen invoke fetch release
redrive X:a
    invoke X
fail X
put a a a b b
    fetch 1, 20 records
    fetch 4, 17 records
    release below 1 and 1-3
    invoke 4-5
done 4-5
    release below 1 and 4-5
wait 80s
    invoke X, attempt 2, invocation 2
done X
    fetch 1, 2 records, again
    invoke 1-2
done 1-2
    fetch 3, 1 records, again
    release below 3
    invoke 3
done 3
    release below 6
