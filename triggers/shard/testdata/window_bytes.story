# esm.md 4: a batch goes at once when the next record would push it over the cap.
# Three records of 100 bytes are 313 with the envelope and without the last comma.
config batch=10 window=5s maxbytes=313
put 3
put 1
    invoke 1-3
done 1-3
wait 5s
    invoke 4
