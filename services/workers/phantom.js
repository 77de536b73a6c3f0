// For PhantomJS: opens a local page and draws it.
var system = require("system");
var page = require("webpage").create();
page.viewportSize = { width: 400, height: 300 };
page.clipRect = { top: 0, left: 0, width: 400, height: 300 };
page.open("file://" + system.args[1], function (status) {
    if (status !== "success") {
        phantom.exit(1);
    }
    page.render(system.args[2]);
    phantom.exit(0);
});
