# esm.md 4: with one slot batches are strictly one after the other, in put order.
config batch=10
put 20
    invoke 1-10
put 5
done 1-10
    invoke 11-20
done 11-20
    invoke 21-25
done 21-25
