# What is emitted while a commit is out goes into the next one, in the order in
# which the invocations ended; a commit that fails is asked for again as it was.
config parallel=3 batch=1 retries=0
seen invoke commit bury
hold commits
put a b c
    invoke 1
    invoke 2
    invoke 3
done 2 emit=1
    commit next 1 urgent finished 1-3 of b outputs 2.0
done 1 emit=1
done 3 emit=2
commit lost
put d
wait 10s
    commit next 1 urgent finished 1-3 of b outputs 2.0
commit ok
    invoke 4
    commit next 4 urgent outputs 1.0,3.0,3.1
commit ok
done 4
    commit next 5
