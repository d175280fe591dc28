# n = 3: what is resolved above the checkpoint is not invoked again.
config parallel=3 batch=2 retries=9
seen invoke commit
put a b c a b c d
    invoke 1-2
    invoke 3,6
    invoke 7
done 3,6
done 7
fail 1-2
    commit next 1 urgent finished 1-7 of cd unit 1-2 attempts 1
restart
wait 1s
    invoke 1-2, attempt 2, invocation 2
done 1-2
    invoke 4-5
done 4-5
    commit next 8
