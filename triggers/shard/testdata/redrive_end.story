# A shard is not over while letters are redriven in it, and takes none after that.
config batch=10 backoff=1s
seen invoke commit finished
put a
    invoke 1
end
redrive X:b
    commit next 1 urgent redrive X attempts 0
done 1
    invoke X
fail X
    commit next 2 urgent redrive X attempts 1
wait 2s
    invoke X, attempt 2, invocation 2
hold commits
done X
    commit next 2 urgent redriven X
commit ok
    commit next 2 urgent ended
redrive Y:c
status
    next 2, read 1, waiting 0, out 0: the shard is closed
commit ok
    finished ended=true fenced=false
