package network

// Nearest is the candidate with the fewest letters to insert, delete or change: what a writer who slipped most likely meant. Of equals it is
// the first; "" where there is no candidate.
func Nearest(text string, candidates []string) string {
	const most = 100 // no candidate is that long
	text = text[:min(len(text), most)]
	best, least := "", 1<<30
	for _, c := range candidates {
		if d := distance(text, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is Levenshtein's: the letters to insert, delete or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
