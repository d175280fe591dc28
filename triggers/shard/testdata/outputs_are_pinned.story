# Outputs that are not durable count as memory: with all of it used nothing is
# read and nothing invoked until they are.
config batch=1 pinned=60
seen invoke commit fetch
hold commits
put a a a a size=20
    fetch 1, 10 records
    invoke 1
done 1 emit=10
    commit next 2 urgent outputs 1.0,1.1,1.2,1.3,1.4,1.5,1.6,1.7,1.8,1.9
status
    next 2, read 3, waiting 2, out 0: outputs that are not durable yet are as many as may be
put a a
commit ok
    invoke 2
    fetch 4, 8 records
done 2
    invoke 3
    fetch 5, 8 records
