# At most 10 x n x batch size numbers lie between the oldest open record and the last read.
config parallel=2 batch=1 retries=9
seen invoke
put a
    invoke 1
put b b b b b b b b b b b b b b b b b b b b b b b b
    invoke 2
fail 1
done 2
    invoke 3
done 3
    invoke 4
done 4
    invoke 5
done 5
    invoke 6
done 6
    invoke 7
done 7
    invoke 8
done 8
    invoke 9
done 9
    invoke 10
done 10
    invoke 11
done 11
    invoke 12
done 12
    invoke 13
done 13
    invoke 14
done 14
    invoke 15
done 15
    invoke 16
done 16
    invoke 17
done 17
    invoke 18
done 18
    invoke 19
done 19
    invoke 20
done 20
status
    next 1, read 20, waiting 0, out 0: too many records were read beyond the oldest open one
    unit 1-1, 1 records, attempts 1: back-off
