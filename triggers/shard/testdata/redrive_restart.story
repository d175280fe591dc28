# A restart goes on with the letters that a commit names, their counts and their
# back-off, and they have their buckets at once. Of others it knows nothing: they
# are still among the dead letters, and the command is given again.
config batch=10 retries=2 backoff=10s
seen invoke commit bury
put a b
    invoke 1-2
redrive X:a Y:b
    commit next 1 urgent redrive X attempts 0 redrive Y attempts 0
done 1-2
    invoke X
fail X
    invoke Y
    commit next 3 urgent redrive X attempts 1 redrive Y attempts 0
wait 10ms
done Y
    commit next 3 urgent redrive X attempts 1 redriven Y
hold commits
redrive Z:c
    commit next 3 urgent redrive X attempts 1 redrive Z attempts 0
restart
free commits
put a b
    invoke 4
wait 20s
done 4
    invoke X, attempt 2, invocation 2
redrive Z:c X:a
    commit next 3 urgent finished 3-4 of b redrive X attempts 1 redrive Z attempts 0
fail X
    invoke Z
    commit next 3 urgent finished 3-4 of b redrive X attempts 2 redrive Z attempts 0
restart
    invoke Z
wait 60s
done Z
    invoke X, attempt 3, invocation 3
    commit next 3 urgent finished 3-4 of b redrive X attempts 2 redriven Z
fail X
    commit next 3 urgent finished 3-4 of b redriven X
    bury X RetryAttemptsExhausted, attempts 3, 1 of 1
    invoke 3
restart
    invoke 3
done 3
    commit next 5
