# Draining starts nothing more and ends when nothing is out and all is committed.
# What was in back-off or waiting as a half goes on in the next life.
config parallel=2 batch=2 retries=5 bisect
seen invoke bury commit finished
put a a b b a
    invoke 1-2
    invoke 3-4
drain
fail 1-2
    commit next 1 urgent unit 1-1 attempts 0 unit 2-2 attempts 0
done 3-4
    commit next 1 finished 1-5 of b unit 1-1 attempts 0 unit 2-2 attempts 0
    finished ended=false fenced=false
restart
    invoke 1
done 1
    invoke 2
done 2
    invoke 5
done 5
    commit next 6
