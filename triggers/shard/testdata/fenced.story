# Another owner has the shard: the machine is finished and does nothing more.
config parallel=2 batch=1
seen invoke commit finished
hold commits
put a b c
    invoke 1
    invoke 2
fail 1
    commit next 1 urgent finished 1-2 of c unit 1-1 attempts 1
commit fenced
    finished ended=false fenced=true
done 2
put d
status
    next 1, read 3, waiting 1, out 1: finished
    unit 1-1, 1 records, attempts 1: back-off
    unit 2-2, 1 records, attempts 0: out
