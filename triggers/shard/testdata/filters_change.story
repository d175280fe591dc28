# New filters hold from the next unit on: what is read and in no unit is judged again, what is out
# stays as it is, and what the old ones have dropped stays dropped.
config batch=2 retries=1
filter 5
put 8
    invoke 1-2
filter 2-4,7
fail 1-2
wait 1s
    invoke 1-2, attempt 2, invocation 2
done 1-2
    invoke 6,8
done 6,8
