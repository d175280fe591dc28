package sandbox

import (
	"context"
	"strings"
	"testing"
)

// Else each child of a test binary that knows nothing of children runs its tests,
// which start children.
func TestProgramThatCannotBeAChildStartsNone(t *testing.T) {
	asked.Store(false)
	defer asked.Store(true)
	e, err := New(context.Background(), Options{})
	if err == nil || !strings.Contains(err.Error(), "call sandbox.Child") {
		t.Errorf("%v, %v", e, err)
	}
	if err == nil {
		_ = e.Close(context.Background()) // the test has failed
	}
}
