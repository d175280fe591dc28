# esm.md 4: filters run before a record is counted into a batch. What no filter lets through takes
# no place in one, a poll of nothing else moves the checkpoint without an invocation, and
# records behind it are finished with it.
config batch=3
seen invoke commit release
filter 2,4-7,9-12
put 8
    invoke 1,3,8
done 1,3,8
    commit next 9
    release below 9
put 4
    commit next 13
    release below 13
put 1
    invoke 13
done 13
    commit next 14
    release below 14
