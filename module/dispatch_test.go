package module

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// chances says whether m yields in each of n turns, which bring served
// requests each after a yield of the duration waited.
func chances(m *manners, n, served int, waited time.Duration) (yields int) {
	for range n {
		m.served = served
		if m.yields() {
			yields++
			m.waited = waited
		}
	}
	return yields
}

func TestDispatcherYieldsWhereThatPays(t *testing.T) {
	var m manners
	assert.Equal(t, 1000, chances(&m, 1000, 8, 8*yieldMax))
	assert.Less(t, chances(&m, 10_000, 8, 8*yieldMax+1), 60, "it comes too late")
	assert.Greater(t, chances(&m, 1000, 8, 8*yieldMax), 700, "it pays again")
	assert.Zero(t, chances(&m, 1000, 0, time.Microsecond), "nothing was served")
}
