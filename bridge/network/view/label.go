package view

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// label gives the parts of every network its number and a letter, and what several networks share their numbers.
func (m *Model) label() {
	byKey := map[string]*thing{}
	for _, t := range m.devices {
		byKey[t.Key] = t
	}
	for _, n := range m.networks {
		i := 0
		for _, t := range slices.Concat(n.nics, []*thing{n.bridge, n.segment}, n.others) {
			if t == nil || t.net != n || t.Label != "" {
				continue
			}
			t.Networks = []int{n.Number}
			if !t.device {
				t.Label = n.Label
				continue
			}
			t.Label, t.letter = n.Label+letters(i), i
			i++
		}
		for _, t := range []*thing{n.on, n.bridge} {
			carry(byKey, t, n.Number)
		}
	}
	for _, t := range m.devices {
		if len(t.carries) > 0 && t.net == nil {
			t.Networks = slices.Sorted(maps.Keys(t.carries))
			t.Label = ranges(t.Networks)
		}
	}
	for _, t := range m.things {
		if t.Layer == LayerGuest {
			t.Networks = m.networksOf(byKey, t)
		}
	}
}

func (m *Model) networksOf(byKey map[string]*thing, guest *thing) []int {
	seen := map[int]bool{}
	for _, s := range guest.On {
		for _, number := range byKey[s.Key].Networks {
			seen[number] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// carry tells a thing and all that it stands on that they carry a network. Things stand on lower columns alone, so it ends.
func carry(byKey map[string]*thing, t *thing, number int) {
	if t == nil || t.carries[number] {
		return
	}
	if t.carries != nil {
		t.carries[number] = true
	}
	for _, s := range t.On {
		carry(byKey, byKey[s.Key], number)
	}
}

// letters counts a, b ... z, aa, ab ... from 0.
func letters(i int) string {
	s := ""
	for i++; i > 0; i = (i - 1) / 26 {
		s = string(rune('a'+(i-1)%26)) + s
	}
	return s
}

// ranges writes ascending numbers as people do: "1-4", "5-7,9".
func ranges(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		part := strconv.Itoa(numbers[i])
		switch {
		case j == i+1:
			part += "," + strconv.Itoa(numbers[j])
		case j > i:
			part += "-" + strconv.Itoa(numbers[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}
