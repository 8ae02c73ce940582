package house

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/bridge/network/view"
)

const networksPage = "docs/networks.md"

// The picture of the page is the one that the program draws, and so are the views below it.
func TestNetworksPageShowsWhatIsShown(t *testing.T) {
	golden := "bridge/network/view/testdata/worked.logical.svg"
	assert.Equal(t, read(t, golden), read(t, "docs/networks.svg"), "cp %s docs/networks.svg", golden)
	for _, path := range []string{
		"bridge/network/testdata/worked.toml", "bridge/network/view/testdata/worked.manager.txt", "bridge/network/view/testdata/worked.logical.txt",
	} {
		assert.Contains(t, read(t, networksPage), indented(read(t, path)), "%s is another", path)
	}
}

// indented is a text as a page quotes it.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
	return strings.TrimRight(b.String(), "\n")
}

// declarations are the declarations that a page quotes: indented blocks that begin with a table.
func declarations(text string) (out []string) {
	block := ""
	for line := range strings.Lines(text + "\nend\n") {
		if strings.HasPrefix(line, "    ") || block != "" && strings.TrimSpace(line) == "" {
			block += strings.TrimPrefix(line, "    ")
			continue
		}
		if regexp.MustCompile(`(?m)\A(#.*\n|\n)*\[\[`).MatchString(block) {
			out = append(out, block)
		}
		block = ""
	}
	return out
}

// declared reads a declaration of a page.
func declared(t *testing.T, text string) network.Spec {
	t.Helper()
	s, err := network.Parse([]network.File{{Name: "page", Text: []byte(text)}})
	require.NoError(t, err, text)
	return s
}

// What the pages tell people to write is right. A recipe leaves out what it is not about, which then is added.
func TestQuotedDeclarationsAreRight(t *testing.T) {
	const rest = "\n[[network]]\nname = \"the-rest\"\non = \"eth9\"\nroles = [\"server-management\"]\n"
	for page, least := range map[string]int{networksPage: 5, "README.md": 1} {
		all := declarations(read(t, page))
		require.GreaterOrEqual(t, len(all), least, page)
		for _, text := range all {
			if !strings.Contains(text, "server-management") {
				text += rest
			}
			_, err := network.Check(declared(t, text))
			assert.NoError(t, err, "%s: %s", page, text)
		}
	}
}

// host is one with some ports of which the first carries addresses and the default route.
func host() bridge.Host {
	var h bridge.Host
	for i := range 3 {
		h.Devices = append(h.Devices, bridge.Device{Index: i + 2, Name: bridge.Name(fmt.Sprintf("eth%d", i)), MaxMTU: 1500, Running: true, Settings: bridge.Settings{
			bridge.KeyMTU: "1500", bridge.KeyUp: "1", bridge.KeyMAC: fmt.Sprintf("52:54:00:00:00:%02x", i),
		}})
	}
	h.Devices[0].Addresses = []bridge.Address{{Prefix: netip.MustParsePrefix("10.11.10.22/24")}}
	h.Routes = []bridge.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParsePrefix("10.11.10.1/32").Addr(), Device: "eth0", Table: 254, Type: 1, Protocol: 3}}
	return h
}

// The plan that the page shows for its recipe is the one that is made.
func TestNetworksPageShowsThePlan(t *testing.T) {
	page := read(t, networksPage)
	for _, text := range declarations(page) {
		if !strings.Contains(text, `"office"`) {
			continue
		}
		plan := planned(t, text, host())
		require.NotEmpty(t, plan.Steps)
		for i, s := range plan.Steps {
			assert.Contains(t, page, fmt.Sprintf("    %3d  %s\n", i+1, s))
		}
		assert.Contains(t, page, fmt.Sprintf("    This touches server-management: %s. ", plan.Management))
		return
	}
	t.Error("the page has no recipe for an office any more")
}

func planned(t *testing.T, text string, h bridge.Host) network.Plan {
	t.Helper()
	s, err := network.Resolve(declared(t, text), nil)
	require.NoError(t, err)
	plan, err := network.Make(network.Input{Want: s, Have: h})
	require.NoError(t, err)
	return plan
}

// The README's declaration, carried out on a host with one guest, is shown as it says.
func TestReadmeShowsWhatIsShown(t *testing.T) {
	spec, err := network.Resolve(declared(t, declarations(read(t, "README.md"))[0]), nil)
	require.NoError(t, err)
	h := host()
	plan, err := network.Make(network.Input{Want: spec, Have: h})
	require.NoError(t, err)
	for _, s := range plan.Steps {
		h, err = network.Simulate(h, s)
		require.NoError(t, err)
	}
	for i := range h.Devices {
		h.Devices[i].Running = true
	}
	id := spec.Network("guests").ID
	h.Devices = append(h.Devices, bridge.Device{
		Index: 99, Name: "vif23.0", Master: id, Running: true, Settings: bridge.Settings{
			bridge.KeyMTU: "1500", bridge.KeyUp: "1",
		},
	})
	v, err := view.New(view.Input{Spec: spec, Host: h, Guests: []network.Guest{{Domain: "web01", ID: 23, Device: "vif23.0", Network: id, State: "plugged"}}}).View("manager")
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, view.Write(&out, v, "text", view.Options{}))
	assert.Contains(t, read(t, "README.md"), indented(out.String()), out.String())
}

// management is what the declarations below begin with.
const management = "[[network]]\nname = \"management\"\non = \"eth0\"\nroles = [\"server-management\"]\naddress = [\"10.11.10.22/24\"]\n"

// What the page says that a wrong declaration is answered by, it is.
func TestNetworksPageQuotesTheRules(t *testing.T) {
	page := quotes(t, "With the declaration")
	var said []string
	for _, text := range []string{
		"[[network]]\nname = \"guests\"\non = \"eth0\"\nrole = [\"virtual-machine\"]",
		"[[network]]\nname = \"guests\"\non = \"eth0\"\nroles = [\"vm\"]",
		"[[network]]\nname = \"guests\"\non = \"eth0\"\nroles = [\"virtual-machine\"]",
		management + "[[network]]\nname = \"storage\"\non = \"eth1\"\nroles = [\"server-management\"]",
		management + "[[network]]\nname = \"guests\"\non = \"eth1\"\nroles = [\"virtual-machine\"]\naddress = [\"10.11.13.22/24\"]",
		management + "[[network]]\nname = \"guests\"\non = \"eth0\"\nroles = [\"virtual-machine\"]",
		management + "[[bond]]\nname = \"bond0\"\nports = [\"eth0\", \"eth1\"]",
		"[[bond]]\nname = \"bond0\"\nports = [\"eth0\"]\nmtu = 1500\n[[network]]\nname = \"storage\"\non = \"bond0\"\nroles = [\"server-management\"]\nmtu = 9000",
		management + "gateway = [\"10.11.12.1\"]",
		management + "[[network]]\nname = \"trunk\"\non = \"eth1\"\nroles = [\"virtual-machine\"]\nvlan-filtering = true\n" +
			"[[network]]\nname = \"v13\"\non = \"eth1\"\nvlan = 13\nroles = [\"virtual-machine\"]",
		management + "[[bond]]\nname = \"bond0\"\nports = [\"eth1\"]\nlacp-rate = \"fast\"",
		management + "[[network]]\nname = \"hb1\"\non = \"eth1\"\nroles = [\"cluster-heartbeat\"]\n[[network]]\nname = \"hb2\"\non = \"eth2\"\nroles = [\"cluster-heartbeat\"]",
	} {
		said = append(said, answers(text)...)
	}
	for _, q := range page {
		assert.Contains(t, said, q, "nobody says so")
	}
}

// answers are all sentences about a declaration, without their places.
func answers(text string) (out []string) {
	s, err := network.Parse([]network.File{{Name: "f", Text: []byte(text)}})
	var warnings []string
	if err == nil {
		warnings, err = network.Check(s)
	}
	all := strings.Join(warnings, "\n")
	if err != nil {
		all += "\n" + err.Error()
	}
	for _, m := range regexp.MustCompile(`(?m)^f:\d+:\d+: (.*)$`).FindAllStringSubmatch(all, -1) {
		out = append(out, m[1])
	}
	return out
}

// quotes are the sentences in the first column of the page's table below a line.
func quotes(t *testing.T, below string) (out []string) {
	t.Helper()
	_, rest, found := strings.Cut(read(t, networksPage), "\n"+below)
	require.True(t, found)
	_, rest, _ = strings.Cut(rest, "|---|")
	for line := range strings.Lines(rest) {
		if m := regexp.MustCompile("^\\| `([^`]+)` \\|").FindStringSubmatch(line); m != nil {
			out = append(out, m[1])
		} else if strings.TrimSpace(line) == "" {
			break
		}
	}
	require.NotEmpty(t, out)
	return out
}

// What the page quotes of plans is what they say.
func TestNetworksPageQuotesPlans(t *testing.T) {
	page := quotes(t, "With the host")
	s, err := network.Resolve(declared(t, strings.ReplaceAll(management, "management\"\non", "office\"\non")+
		"[[network]]\nname = \"nfs\"\non = \"eth1\"\nroles = [\"storage\"]\nmtu = 9000\n"), nil)
	require.NoError(t, err)
	_, err = network.Make(network.Input{Want: s, Have: host()})
	require.Error(t, err)
	assert.Contains(t, page, err.Error())

	taken := host()
	taken.Devices = append(taken.Devices, bridge.Device{Index: 9, Name: "5CC3F82", Kind: "dummy", Settings: bridge.Settings{bridge.KeyMTU: "1500"}})
	s, err = network.Resolve(declared(t, "[[network]]\nname = \"office\"\non = \"eth0\"\nroles = [\"server-management\", \"virtual-machine\"]\n"), nil)
	require.NoError(t, err)
	_, err = network.Make(network.Input{Want: s, Have: taken})
	require.Error(t, err)
	assert.Contains(t, page, err.Error())

	late := host()
	late.Devices = late.Devices[:1]
	assert.Subset(t, page, planned(t, "[[bond]]\nname = \"bond0\"\nports = [\"eth0\", \"eth1\"]\n"+strings.ReplaceAll(management, "eth0", "bond0"), late).Notes)

	used := host()
	used.Devices = append(used.Devices,
		bridge.Device{Index: 8, Name: "5CC3F82", Kind: "bridge", Settings: bridge.Settings{bridge.KeyAlias: "vifplug: network office (1)", bridge.KeyMTU: "1500", bridge.KeyUp: "1"}},
		bridge.Device{Index: 9, Name: "vif23.0", Master: "5CC3F82", Settings: bridge.Settings{bridge.KeyAlias: "vifplug: domain web01 (23) eth0 on office"}})
	notes := planned(t, management, used).Notes
	require.Len(t, notes, 1)
	assert.Contains(t, page, notes[0])
}

// Sentences of the service and of the engine that the page quotes with gaps are in their sources, piece by piece.
func TestNetworksPageQuotesTheService(t *testing.T) {
	var sources strings.Builder
	for _, pattern := range []string{"bridge/host/*.go", "hotplug/network.go"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, path := range found {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			sources.Write(b)
		}
	}
	text := regexp.MustCompile(`" \+\n\t+"`).ReplaceAllString(sources.String(), "")
	for _, piece := range []string{
		"host: this would cut off server-management: ", ". Nothing was done; --force does it all the same", ". The host is as before",
		"host: all steps were done, but the host did not keep this: ", "host: an apply waits for its confirmation: confirm it or roll it back first",
		"host: the confirmation came too late", ": the former declaration holds", "host: another process is changing the networks (it holds ",
		": move it away, and apply the declaration again", " times within a minute, and does not stay so: somebody undoes it. It is left alone for ",
		"find out who it is, or change the declaration", " only; guests need a network with the virtual-machine role",
	} {
		assert.Contains(t, text, piece, "nobody says so")
		assert.Contains(t, strings.Join(quotes(t, "With the host"), "\n"), strings.TrimPrefix(strings.TrimSpace(piece), "host: "), "the page does not quote it")
	}
}
