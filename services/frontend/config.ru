# The whole application: one page, one style sheet, and a place to ask whether it is well.
require "rails"
require "action_controller/railtie"

class Frontend < Rails::Application
  config.root = __dir__
  config.load_defaults Rails::VERSION::STRING.to_f
  config.eager_load = true
  # Sessions are not used; a secret of one's own is given as SECRET_KEY_BASE.
  config.secret_key_base = ENV.fetch("SECRET_KEY_BASE") { SecureRandom.hex(64) }
  config.logger = ActiveSupport::Logger.new($stdout)
  config.hosts.clear
  config.public_file_server.enabled = true

  routes.append do
    root to: "pages#home"
    get "/health", to: proc { [200, { "content-type" => "text/plain" }, ["ok\n"]] }
  end
end

class PagesController < ActionController::Base
  def home
    @name = params.fetch(:name, "world")
    render inline: <<~PAGE
      <!DOCTYPE html>
      <title>Frontend</title>
      <link rel="stylesheet" href="/style.css">
      <h1>Hello, <%= @name %>!</h1>
      <p>Rails <%= Rails.version %> on Ruby <%= RUBY_VERSION %></p>
    PAGE
  end
end

Frontend.initialize!
run Frontend
