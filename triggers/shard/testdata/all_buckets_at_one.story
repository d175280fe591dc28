# n = 1 keeps the order of the shard, not only of the key.
config parallel=1 batch=2 retries=9
put a b c d
    invoke 1-2
fail 1-2
put e
wait 1s
    invoke 1-2, attempt 2, invocation 2
done 1-2
    invoke 3-4
done 3-4
    invoke 5
