package kv

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/wasmill/wasmill/internal/natsd"
)

// Secret is a random key of that name, made when it is first asked for and the same ever
// after, for what this server seals and nobody else is to open. Where a full disk does
// not let it be kept, it dies with the process: that must not keep a server from starting.
func Secret(ctx context.Context, srv *natsd.Server, name string) (key [32]byte, err error) {
	b, err := Open[[]byte](ctx, srv, "secrets")
	if err != nil {
		return key, err
	}
	stored, _, err := b.Get(ctx, name)
	if errors.Is(err, ErrNotFound) {
		rand.Read(key[:]) // never fails
		switch _, err = b.Create(ctx, name, key[:]); {
		case err == nil, errors.Is(err, natsd.ErrReserve):
			return key, nil
		case errors.Is(err, ErrExists):
			stored, _, err = b.Get(ctx, name)
		}
	}
	copy(key[:], stored)
	return key, err
}
