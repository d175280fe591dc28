package kinesis

import (
	"math/big"
	"strconv"
)

// number is what AWS reads out of a sequence number. It has had three layouts, all told
// in the package db of npm kinesalite 3.3.3, which recorded them.
type number struct {
	version int   // 0, 1 or 2; we give out 2
	shard   int64 // index, of which version 2 as we write it knows the last four bits
	created int64 // of the shard, Unix seconds
	time    int64 // Unix seconds; 0 in version 0
}

var (
	twoTo124 = new(big.Int).Lsh(big.NewInt(1), 124)
	twoTo129 = new(big.Int).Lsh(big.NewInt(1), 129)
	twoTo185 = new(big.Int).Lsh(big.NewInt(1), 185)
	farthest = new(big.Int).Lsh(big.NewInt(3), 184)
)

// latestCreated is where AWS finds dates too large, in Unix seconds.
const latestCreated = 16_025_175_000

// parseNumber reads a decimal sequence number; false for one that AWS could not have
// given out.
func parseNumber(text string) (number, bool) {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok || n.Sign() < 0 {
		return number{}, false
	}
	if n.Cmp(twoTo124) < 0 {
		n.Add(n, twoTo124)
	}
	hex := n.Text(16)
	// part is some of the digits, of which there are always enough where it is called.
	part := func(from, to int) int64 {
		v, _ := strconv.ParseInt(hex[from:to], 16, 64) // at most nine digits
		return v
	}
	switch {
	case n.Cmp(twoTo129) < 0:
		if part(1, 10) >= latestCreated {
			return number{}, false
		}
		return number{version: 0, created: part(1, 10), shard: part(28, 32)}, true
	case n.Cmp(twoTo185) <= 0 || n.Cmp(farthest) >= 0:
		return number{}, false
	case hex[46] == '1':
		return number{version: 1, created: part(1, 10), time: part(13, 22), shard: part(38, 46)}, true
	case hex[46] == '2' && hex[11] <= '7' && part(1, 10) < latestCreated:
		shard := part(38, 46)
		if hex[38] > '7' {
			shard = -shard
		}
		return number{version: 2, created: part(1, 10), time: part(29, 38), shard: shard}, true
	}
	return number{}, false
}
