# A timeout halves as an error does; a throttle or a failure of the host does not.
config batch=4 retries=1 bisect
put 4
    invoke 1-4
throttle 1-4
wait 1s
    invoke 1-4, attempt 1, invocation 2
infra 1-4
wait 1s
    invoke 1-4, attempt 1, invocation 3
timeout 1-4
    invoke 1-2
done 1-2
    invoke 3-4
done 3-4
