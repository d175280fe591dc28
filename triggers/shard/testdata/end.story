# A shard ends when everything in it is resolved and committed, not before.
config batch=2 retries=0
seen invoke bury commit finished
hold commits
put 3
    invoke 1-2
end
done 1-2
    invoke 3
fail 3
    commit next 4 urgent
    bury 3 RetryAttemptsExhausted, attempts 1, 1 of 1
status
    next 4, read 3, waiting 0, out 0: units are being read, or their dead letters written
    unit 4-3, 0 records, attempts 1: commit
commit ok
    commit next 4 urgent ended
commit ok
    finished ended=true fenced=false
restart
    finished ended=true fenced=false
