# What was released may be gone when its turn comes: a gap of the unit alone.
config parallel=2 batch=4 retries=9 pinned=450
seen invoke fetch gap commit
put a
    fetch 1, 80 records
    invoke 1
fail 1
    commit next 1 urgent unit 1-1 attempts 1
put a a a a
    fetch 2, 79 records
    fetch 5, 76 records
put b
    fetch 6, 75 records
    invoke 6
done 6
    commit next 1 finished 1-6 of b unit 1-1 attempts 1
gap 2-3
wait 1s
    invoke 1, attempt 2, invocation 2
done 1
    fetch 2, 4 records, again
    commit next 2 finished 2-6 of b
    gap 2 to 3
    fetch 4, 2 records, again
    invoke 4-5
done 4-5
    commit next 7 gaps 2
