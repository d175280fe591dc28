# 32 MiB are pinned: of records of 4 MB the ninth is the last to be read, and
# another one when one is done.
config batch=10 retries=9
seen invoke fetch release
put 20 size=4000000
    fetch 1, 100 records
    invoke 1
    fetch 9, 92 records
status
    next 1, read 9, waiting 8, out 1: 
    unit 1-1, 1 records, attempts 0: out
done 1
    invoke 2
    fetch 10, 92 records
    release below 2
status
    next 2, read 10, waiting 8, out 1: 
    unit 2-2, 1 records, attempts 0: out
