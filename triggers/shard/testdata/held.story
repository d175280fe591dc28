# Held starts nothing, neither batches nor redrives, and says why; what is out ends.
config batch=1 parallel=2
seen invoke commit
put a b c
    invoke 1
    invoke 2
redrive X:d
    commit next 1 urgent finished 1-2 of c redrive X attempts 0
held the target is full
done 1
done 2
    commit next 3 redrive X attempts 0
status
    next 3, read 3, waiting 1, out 0: the target is full
    redrive X, attempts 0: ready
held
    invoke X
    invoke 3
done X
    commit next 3 urgent redriven X
done 3
    commit next 4
