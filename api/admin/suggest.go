package admin

import (
	"cmp"
	"slices"
	"strings"
)

// Nearest returns up to three of names that a person who typed name may have
// meant, the best first: at most a third of its letters changed, or one of them
// contained in the other.
func Nearest(name string, names []string) []string {
	type near struct {
		name string
		far  int
	}
	var found []near
	low := strings.ToLower(name)
	for _, n := range names {
		l := strings.ToLower(n)
		far := distance(low, l)
		within := len(low) >= 3 && (strings.HasPrefix(l, low) || strings.HasPrefix(low, l) && len(l) >= 3)
		if far <= max(1, min(len(low), 12)/3) || within {
			found = append(found, near{n, far})
		}
	}
	slices.SortFunc(found, func(a, b near) int { return cmp.Or(a.far-b.far, strings.Compare(a.name, b.name)) })
	var out []string
	for _, n := range found[:min(3, len(found))] {
		out = append(out, n.name)
	}
	return out
}

// distance counts the letters to insert, delete, change or swap with their
// neighbour that lead from a to b.
func distance(a, b string) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			change := prev[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, prev[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
