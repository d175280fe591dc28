# A record that no event can hold is given up without an attempt, in its turn.
config batch=10 maxbytes=400 retries=3
put 2
    invoke 1-2
put 1 size=388
put 2
done 1-2
    bury 3 PayloadTooLarge, attempts 0, 1 of 1
    invoke 4-5
done 4-5
