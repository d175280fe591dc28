package main

import (
	"fmt"
	"math"
)

// energy is how much a quake sets free, in multiples of one of magnitude 2.5.
func energy(mag float64) (float64, error) {
	if mag < 0 {
		return 0, fmt.Errorf("no energy for magnitude %.2f", mag)
	}
	return math.Pow(10, 1.5*(mag-felt)), nil
}
