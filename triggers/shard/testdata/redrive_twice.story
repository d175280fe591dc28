# A letter that is known changes nothing by a second command: waiting, out, in
# back-off, and until its end is durable.
config batch=10 backoff=1s
seen invoke commit
redrive X:a X:a
    commit next 1 urgent redrive X attempts 0
    invoke X
redrive X:a
fail X
    commit next 1 urgent redrive X attempts 1
redrive X:a
wait 2s
    invoke X, attempt 2, invocation 2
hold commits
done X
    commit next 1 urgent redriven X
redrive X:a Y:b
commit ok
    commit next 1 urgent redrive Y attempts 0
commit ok
    invoke Y
