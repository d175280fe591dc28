# esm.md 6.2, recorded on AWS: 1 record aged 80 s and 5 fresh ones, limit 60 s,
# batch size 10, no retries. The old one is given up, the fresh ones go in one batch.
config batch=10 retries=0 age=60s
hold commits
put 1 age=80s
    bury 1 RecordAgeExceeded, attempts 0, 1 of 1
commit ok
put 5
    invoke 2-6
done 2-6
free commits
