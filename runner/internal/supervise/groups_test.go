package supervise

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestForeignGroups(t *testing.T) {
	for _, c := range []struct{ has, allowed, foreign []int }{
		{has: []int{1001, 2001}, allowed: []int{1001, 2001}},
		{has: []int{1001}, allowed: []int{1001, 2001}},
		{has: []int{5000, 1001, 27, 5000}, allowed: []int{1001}, foreign: []int{27, 5000}},
		{has: []int{0, 1001}, allowed: []int{1001}, foreign: []int{0}},
		{has: []int{1001}, foreign: []int{1001}},
	} {
		if foreign := foreignGroups(c.has, c.allowed); !slices.Equal(foreign, c.foreign) {
			t.Errorf("of %v where %v are allowed: %v, not %v", c.has, c.allowed, foreign, c.foreign)
		}
	}
}

func TestCheckGroupsOfThisProcess(t *testing.T) {
	has, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckGroups(append(has, os.Getgid())); err != nil {
		t.Errorf("its own groups: %v", err)
	}
	err = CheckGroups(nil)
	if err == nil || !strings.Contains(err.Error(), "into group "+strconv.Itoa(slices.Min(append(has, os.Getgid())))) {
		t.Errorf("with no group allowed: %v", err)
	}
}
