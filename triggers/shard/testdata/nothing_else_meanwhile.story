# esm.md 6.1.6: while a batch is retried nothing else of the shard is delivered.
config batch=2 retries=5
put 2
    invoke 1-2
fail 1-2
put 4
status
    next 1, read 6, waiting 4, out 0: every slot is in back-off after failures
    unit 1-2, 2 records, attempts 1: back-off
wait 1s
    invoke 1-2, attempt 2, invocation 2
done 1-2
    invoke 3-4
done 3-4
    invoke 5-6
