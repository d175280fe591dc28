# A letter is invoked once it is durable that it is redriven, alone; its end goes
# at once, with what it emitted.
config batch=10
seen invoke commit finished
hold commits
redrive X:a
    commit next 1 urgent redrive X attempts 0
status
    next 1, read 0, waiting 0, out 0: no records: everything stored has been read
    redrive X, attempts 0: commit
commit ok
    invoke X
status
    next 1, read 0, waiting 0, out 1: 
    redrive X, attempts 0: out
done X emit=1
    commit next 1 urgent redriven X outputs X.0
commit ok
status
    next 1, read 0, waiting 0, out 0: no records: everything stored has been read
