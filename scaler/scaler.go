// Package scaler says how many batches of a shard may be out at once, and why.
//
// It is pure: values in, a number and a reason out. Today it knows only the
// fixed concurrency that ParallelizationFactor asks for.
package scaler

import "fmt"

// Decision is a concurrency and the reason for it, for people.
type Decision struct {
	Parallel int
	Reason   string
}

// Fixed is the concurrency of a trigger with a ParallelizationFactor, 1 to 10.
func Fixed(parallel int) Decision {
	return Decision{parallel, fmt.Sprintf("fixed at %d by the trigger", parallel)}
}
