package door

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// nameTTL is how long the answer of the resolver is taken for good: long enough
	// for the dials of one burst, short enough for a container that moved.
	nameTTL = 5 * time.Second
	// maxNames is how many answers are kept.
	maxNames = 1024
	// giftTTL is how long an address stands for the name that it was given out for.
	giftTTL = 10 * time.Minute
	// maxGifts is how many addresses of one function do, maxGiftNames for how many
	// names one of them does, and maxGifted in how many functions.
	maxGifts     = 256
	maxGiftNames = 8
	maxGifted    = 4096
)

// names resolves, once at a time for each name, and keeps the answers a little.
type names struct {
	resolver Resolver

	mu    sync.Mutex
	known map[string]*lookup
}

// lookup is an answer, or being waited for.
type lookup struct {
	done  chan struct{} // closed when addrs, err and until are set
	addrs []netip.Addr
	err   error
	until time.Time
}

// lookup asks once for all who ask at the same time. A question that has to be
// asked takes a place, by enter, until it is answered: who gave up meanwhile may
// come back with another name, and must not have more of them under way so.
func (n *names) lookup(ctx context.Context, host string, enter func() (release func(), err error)) ([]netip.Addr, error) {
	now := time.Now()
	n.mu.Lock()
	l := n.known[host]
	if l != nil {
		select {
		case <-l.done:
			if !now.Before(l.until) {
				l = nil
			}
		default:
		}
	}
	if l == nil {
		release, err := enter()
		if err != nil {
			n.mu.Unlock()
			return nil, err
		}
		if len(n.known) >= maxNames {
			n.sweep(now)
		}
		l = &lookup{done: make(chan struct{})}
		n.known[host] = l
		// The first who asks must not take the answer from the others by giving up.
		ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), DialTimeout)
		go func() {
			defer cancel()
			defer release()
			l.addrs, l.err = n.resolver.LookupNetIP(ask, "ip", host)
			l.until = time.Now().Add(nameTTL)
			if l.err != nil {
				l.until = time.Now() // asked again the next time
			}
			close(l.done)
		}()
	}
	n.mu.Unlock()
	select {
	case <-l.done:
		return l.addrs, l.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// sweep makes room: what has expired goes, then anything that is not being waited for.
func (n *names) sweep(now time.Time) {
	settled := func(l *lookup) bool {
		select {
		case <-l.done:
			return true
		default:
			return false
		}
	}
	maps.DeleteFunc(n.known, func(_ string, l *lookup) bool { return settled(l) && !now.Before(l.until) })
	for host, l := range n.known {
		if len(n.known) < maxNames {
			return
		}
		if settled(l) {
			delete(n.known, host)
		}
	}
}

// given knows for which names each function was given which address.
type given struct {
	mu        sync.Mutex
	functions map[string]*gifts
}

type gifts struct {
	addrs map[netip.Addr][]gift
	used  time.Time
}

type gift struct {
	name  string
	until time.Time
}

func (g *given) add(function, name string, addrs []netip.Addr, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.functions[function]
	if f == nil {
		if len(g.functions) >= maxGifted {
			oldest, at := "", now
			for k, f := range g.functions {
				if !f.used.After(at) {
					oldest, at = k, f.used
				}
			}
			delete(g.functions, oldest)
		}
		f = &gifts{addrs: make(map[netip.Addr][]gift)}
		g.functions[function] = f
	}
	f.used = now
	for _, a := range addrs {
		if _, known := f.addrs[a]; !known && len(f.addrs) >= maxGifts {
			f.sweep(now)
		}
		of := slices.DeleteFunc(f.addrs[a], func(x gift) bool { return x.name == name || !now.Before(x.until) })
		if len(of) >= maxGiftNames {
			of = slices.Delete(of, 0, 1) // the oldest
		}
		f.addrs[a] = append(of, gift{name, now.Add(giftTTL)})
	}
}

// sweep makes room for one address: by what has expired, or by that which will first.
func (f *gifts) sweep(now time.Time) {
	var first netip.Addr
	var when time.Time
	for a, of := range f.addrs {
		last := of[len(of)-1].until
		if !now.Before(last) {
			delete(f.addrs, a)
		} else if when.IsZero() || last.Before(when) {
			first, when = a, last
		}
	}
	if len(f.addrs) >= maxGifts {
		delete(f.addrs, first)
	}
}

// names are those that an address stands for.
func (g *given) names(function string, a netip.Addr, now time.Time) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.functions[function]
	if f == nil {
		return nil
	}
	var names []string
	for _, x := range slices.Backward(f.addrs[a]) {
		if now.Before(x.until) {
			names = append(names, x.name)
		}
	}
	return names
}
