package main

import (
	"context"
	"errors"
	"time"

	"github.com/wasmill/wasmill/stream"
)

const shards = 4

// putMany: 8 callers, 500 records of 1 KB a call, 4 shards, every record
// fsynced before it is acknowledged; against one record a message by
// PublishAsync, not fsynced.
func putMany(ctx context.Context, h *host) ([]result, error) {
	_, store, _, err := h.stream(ctx)
	if err != nil {
		return nil, err
	}
	batch := entries(500)
	raw, err := h.raw(ctx, shards, false)
	if err != nil {
		return nil, err
	}
	r, err := compare("put.500x1KB", "records/s", "ratio >= 2", 0, func() (float64, error) {
		return callers(ctx, 8, h.last, func(ctx context.Context, _, _ int) (int, error) {
			res, err := store.Put(ctx, benched, batch)
			for _, r := range res {
				err = errors.Join(err, r.Err)
			}
			return len(res), err
		})
	}, func() (float64, error) { return raw.publish(ctx, h.last, 0) })
	return []result{r}, err
}

// putSingle: 64 callers, one record a call; against 64 callers that publish
// one message at a time, fsynced as ours.
func putSingle(ctx context.Context, h *host) ([]result, error) {
	_, store, _, err := h.stream(ctx)
	if err != nil {
		return nil, err
	}
	batch := entries(1000)
	raw, err := h.raw(ctx, shards, true)
	if err != nil {
		return nil, err
	}
	data := payload(1000)
	r, err := compare("put.single.64callers", "records/s", "ratio >= 5", 0, func() (float64, error) {
		return callers(ctx, 64, h.last, func(ctx context.Context, caller, round int) (int, error) {
			at := (caller*17 + round) % len(batch)
			res, err := store.Put(ctx, benched, batch[at:at+1])
			if err != nil {
				return 0, err
			}
			return 1, res[0].Err
		})
	}, func() (float64, error) {
		return callers(ctx, 64, h.last, func(ctx context.Context, caller, _ int) (int, error) {
			_, err := raw.js[caller%shards].Publish(ctx, raw.names[caller%shards], data)
			return 1, err
		})
	})
	return []result{r}, err
}

// fill puts n records of 1 KB into a stream of 4 shards.
func fill(ctx context.Context, put func(context.Context, []stream.Entry) error, n int) error {
	batch := entries(500)
	rounds := make(chan struct{}, n/500)
	for range n / 500 {
		rounds <- struct{}{}
	}
	close(rounds)
	_, err := callers(ctx, 8, time.Hour, func(ctx context.Context, _, _ int) (int, error) {
		if _, ok := <-rounds; !ok {
			return 0, errDone
		}
		return 500, put(ctx, batch)
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

var errDone = errors.New("done")
